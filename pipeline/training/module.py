"""Training as Lightning runs it: which update comes next, when it stops, what a checkpoint holds.

What an update computes is in `step`.
"""

import copy
import math
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Adam

from pipeline.errors import Stopped, UserError
from pipeline.networks import sight
from pipeline.networks.builders import build_separator
from pipeline.networks.gradients import correlation, input_gradient
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.params import Params
from pipeline.training.batches import Batches
from pipeline.training.losses import excerpt_losses
from pipeline.training.pools import Pool
from pipeline.training.replicas import ALONE, Replica
from pipeline.training.starts import freeze, fresh_critic, normalise, start
from pipeline.training.step import Losses, State, critic_step, separator_step

Curves = dict[str, list[tuple[int, float]]]
"""Curve, for example training/L_s, to its points: separator steps and value, one an epoch."""
MONITOR = "validation/L_s"
"""The loss that decides which epoch is the best one and when training ends."""


class AdversarialSeparation(lightning.LightningModule):
    """A run of one model: its `State`, its batches, and where it stands between two updates."""

    def __init__(
        self,
        params: Params,
        name: str,
        seed: int,
        batches: Batches,
        validation: Pool,
        replica: Replica = ALONE,
    ) -> None:
        """model: a name under `models` of params."""
        super().__init__()
        self.automatic_optimization = False
        self.params, self.model, self.replica = params, params.models[name], replica
        model = self.model
        self.batches, self.validation = batches, validation
        # the separator first: all models of one seed start from the same separator
        torch.manual_seed(seed)
        settings = params.separator_of(name).model_dump()
        self.separator = build_separator(settings, params.signal, len(params.sources))
        network = cast(SeparatorNetwork, self.separator)
        frames = network.valid_frames(params.training.excerpt)
        self.critics = nn.ModuleDict(
            {source: fresh_critic(params, name, frames) for source in model.critics}
        )
        if model.penalty == "spectral":
            normalise(self.critics)
        if model.start_from is not None:
            start(self.separator, Path(model.start_from), params, name)
        freeze(self.separator, model.freeze, name)
        self.to(memory_format=torch.channels_last)
        self.teacher = (
            copy.deepcopy(self.separator).requires_grad_(False) if model.teacher else None
        )
        self.state = State(self.separator, self.critics, params.sources, teacher=self.teacher)
        self.losses: Losses = {}
        """Of the running step, as far as it has come."""
        self.seen = torch.zeros(())
        """L_s of the last update, for whoever watches."""
        self.totals: Losses = {}
        """The losses of this epoch's steps, summed."""
        self.history: Curves = {}
        self.best: dict[str, Any] = {}
        """The best epoch so far, empty before the first: its number, steps, loss and weights."""
        self.already_done = 0
        """Steps of the running epoch that were done before the run was stopped and resumed."""
        self.stop_signal: signal.Signals | None = None
        """Set from outside: stop after the running update, with a checkpoint."""
        self.validated = torch.zeros(2, dtype=torch.float64)
        """Of the running validation pass: the excerpts' weighted losses summed, and their weights."""
        self.asked = torch.zeros(len(model.critics), 4, dtype=torch.float64)
        """Of each critic in the running validation pass: weighted sums of its scores of real less
        estimated excerpts and of its gradient's correlation with what these lack, and both weights."""
        self.peaks = torch.zeros(len(params.sources), 2)
        """Largest estimate and reference of each source in the running validation pass, as far as it
        was looked at: whether they are above zero is what counts."""

    def configure_optimizers(self) -> list[Adam]:
        networks = [self.separator, *self.critics.values()]
        rate = self.params.training.learning_rate
        trained = (
            [one for one in network.parameters() if one.requires_grad] for network in networks
        )
        return [Adam(weights, lr=rate, fused=True) for weights in trained]

    # ------------------------------------------------------------------------------- one step

    def on_train_epoch_start(self) -> None:
        steps_before = self.current_epoch * self.params.training.steps_per_epoch
        self.already_done = self.state.steps - steps_before

    def training_step(self, number: int, _: int) -> None:
        """N_disc updates of every critic, then one of the separator (section 4.3).

        number: of the step in its epoch. Every update is complete in itself: a run that is stopped
        goes on with the next one.
        """
        if number < self.already_done:
            return
        state, settings = self.state, self.params.training
        optimisers = self.optimizers()
        state.optimisers = optimisers if isinstance(optimisers, list) else [optimisers]
        self.set_learning_rate()
        numbers = {source: self.params.sources.index(source) for source in self.critics}
        while numbers and state.critic_updates < (state.steps + 1) * settings.critic_steps:
            critic_batch = self.batches.for_critics(state.critic_updates, numbers)
            self.losses |= critic_step(state, critic_batch, self.model, settings, self.agree)
            self.stop_if_asked()
        batch = self.batches.for_separator(state.steps)
        self.losses |= separator_step(state, batch, self.model, settings, self.agree)
        for name, value in self.losses.items():
            self.totals[name] = self.totals.get(name, 0) + value.detach().double()
        self.seen = self.losses["L_s"].detach()
        self.losses = {}
        self.stop_if_asked()

    def running_loss(self) -> float:
        """L_s of the last update."""
        return float(self.seen)

    def set_learning_rate(self) -> None:
        """Set every optimiser's learning rate: a function of the step, nothing to store.

        Cosine: Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5, without restarts.
        """
        settings = self.params.training
        rate, steps = settings.learning_rate, settings.max_epochs * settings.steps_per_epoch
        if settings.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * self.state.steps / steps)) / 2
        for optimiser in self.state.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate

    def on_train_epoch_end(self) -> None:
        """Note the epoch's mean losses, and its weights if it is the best one."""
        steps = self.params.training.steps_per_epoch
        total, weights = self.validated
        loss = (total / weights).item()
        means = {name: (total / steps).float().item() for name, total in self.totals.items()}
        means = {f"training/{name}": mean for name, mean in means.items()} | {MONITOR: loss}
        for source, (distance, agreement, weight, defined) in zip(
            self.critics, self.asked.tolist(), strict=True
        ):
            if weight:
                means[f"validation/distance_{source}"] = distance / weight
            if defined:
                means[f"validation/correlation_{source}"] = agreement / defined
        for name, mean in means.items():
            # the x axis of the curves: separator updates, not the optimisers' steps taken together
            self.history.setdefault(name, []).append((self.state.steps, mean))
        self.totals = {}
        if not self.best or loss < self.best["loss"]:
            self.best = {
                "epoch": self.current_epoch,
                "steps": self.state.steps,
                "loss": loss,
                "state_dict": {
                    name: value.detach().cpu().clone() for name, value in self.state_dict().items()
                },
            }
        self.trainer.should_stop = self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Whether the best epoch lies more than `patience` epochs back (section 4.3)."""
        epochs = len(self.history.get(MONITOR, []))
        return epochs > 0 and epochs - 1 - self.best["epoch"] > self.params.training.patience

    def agree(self, networks: Iterable[nn.Module], losses: Mapping[str, Tensor]) -> Losses:
        """Average gradients and losses over the processes, before any weight changes.

        Raises UserError when a loss is not finite, in every process alike.
        """
        values, stop = self.replica.average(
            networks, list(losses.values()), self.stop_signal is not None
        )
        if stop and self.stop_signal is None:
            self.stop_signal = signal.SIGTERM  # another process was told to
        averaged = dict(zip(losses, values, strict=True))
        self.stop_unless_finite(averaged)
        return averaged

    def note_signal(self, number: int, _: FrameType | None) -> None:
        """Handle a signal: the run stops after the running update."""
        self.stop_signal = signal.Signals(number)

    def stop_if_asked(self) -> None:
        """Raises Stopped when a signal has come, between two updates."""
        if self.stop_signal is not None:
            raise Stopped(
                f"stopped by {self.stop_signal.name} after {self.state.steps} separator steps; the"
                " same command goes on from there",
                self.stop_signal,
            )

    def stop_unless_finite(self, losses: Mapping[str, Tensor]) -> None:
        """Raises UserError naming the step, the loss and the checkpoint to go back to."""
        values = torch.stack([value.detach() for value in losses.values()])
        if torch.isfinite(values).all():
            return
        name = next(name for name, value in losses.items() if not torch.isfinite(value))
        raise UserError(
            f"{name} is {losses[name].item()} at step {self.state.steps} of the separator; the"
            f" checkpoint to go back to: {self.last_checkpoint()}; a lower training.learning_rate or"
            " alpha usually mends it"
        )

    def last_checkpoint(self) -> str:
        """The checkpoint that a stopped run can go back to."""
        callback = self.trainer.checkpoint_callback if self._trainer else None
        return str(getattr(callback, "last", "none was written yet"))

    # ----------------------------------------------------------------------------- validation

    def on_validation_epoch_start(self) -> None:
        self.validated = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.asked = torch.zeros_like(self.asked, device=self.device)
        self.peaks.zero_()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> STEP_OUTPUT:
        """Add L_s of validation excerpts, given their first frames and their weights, (n,) each."""
        self.stop_if_asked()
        starts, weights = (one.cpu() for one in batch)
        pool = self.validation
        given, seen = cast(SeparatorNetwork, self.separator).representation, self.state.seen
        mixtures, phases = sight.of_mixtures(
            pool.gather(starts, 0, context=True), pool.context, given, seen
        )
        outputs, drawn = self.separator(mixtures), pool.gather_sources(starts)
        kind = sight.drawn(given, seen)
        references = kind.log_magnitudes(drawn)
        labels = drawn if given.waveform else references
        losses = excerpt_losses(outputs, labels, given).double()
        estimates = given.log_magnitudes(outputs)
        fakes, reals = estimates, references
        if seen.waveform:
            fakes = sight.of_estimates(outputs, phases, given, seen)
            reals = sight.of_real(drawn, seen)
        weights = weights.to(losses)
        self.validated += torch.stack([(losses * weights).sum(), weights.sum()])
        for number, (source, critic) in enumerate(self.state.named_critics().items()):
            place = self.params.sources.index(source)
            fake, real = critic.view(fakes[:, place]), critic.view(reals[:, place])
            distances = (critic(real) - critic(fake))[:, 0].double()
            agreeing = correlation(input_gradient(critic, fake), real - fake)
            known = weights * ~agreeing.isnan()
            sums = [(distances * weights).sum(), (agreeing.nan_to_num() * known).sum()]
            self.asked[number] += torch.stack([*sums, weights.sum(), known.sum()])
        if (self.peaks == 0).any():  # until every source was heard, in the first batch as a rule
            peaks = torch.stack([estimates.amax((0, 2, 3)), references.amax((0, 2, 3))], dim=1)
            self.peaks = torch.maximum(self.peaks, peaks.cpu())
        return None

    def on_validation_epoch_end(self) -> None:
        """Raises UserError when a source is estimated as zero for every validation excerpt."""
        total, weights = self.replica.sum(list(self.validated))
        self.validated = torch.stack([total, weights])
        if len(self.critics):
            asked = self.replica.sum(list(self.asked.flatten()))
            self.asked = torch.stack(asked).view_as(self.asked)
        loss = (total / weights).float()
        self.stop_unless_finite({MONITOR: loss})
        self.peaks = self.replica.maximum(self.peaks)
        for source, (estimate, reference) in zip(self.params.sources, self.peaks, strict=True):
            if estimate == 0 and reference > 0:
                raise UserError(
                    f"dead output: {source} is estimated as silence for every validation excerpt"
                    f" after {self.state.steps} steps, and nothing will revive it; try another seed or a"
                    f" lower training.learning_rate (last checkpoint: {self.last_checkpoint()})"
                )

    # ----------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name in ("steps", "critic_updates", "lengths"):
            checkpoint[name] = getattr(self.state, name)
        checkpoint |= {"history": self.history, "best": self.best}
        for name in ("losses", "totals"):
            checkpoint[name] = {key: value.detach() for key, value in getattr(self, name).items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name in ("steps", "critic_updates", "lengths"):
            setattr(self.state, name, checkpoint[name])
        for name in ("losses", "totals"):
            moved = {key: value.to(self.device) for key, value in checkpoint[name].items()}
            setattr(self, name, moved)
        self.history, self.best = checkpoint["history"], checkpoint["best"]
        # a run that was killed when all epochs were done
        self.trainer.should_stop = self.out_of_patience()
