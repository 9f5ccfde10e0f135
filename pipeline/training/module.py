"""Training as Lightning runs it: which update comes next, when it stops, what a checkpoint holds.

What an update computes is in `step`.
"""

import signal
from collections.abc import Iterable, Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Adam

from pipeline.errors import Stopped, UserError
from pipeline.networks.builders import build_critic, build_separator
from pipeline.params import Model, Params
from pipeline.training.batches import Batches
from pipeline.training.losses import supervised_loss
from pipeline.training.pools import Pool
from pipeline.training.replicas import ALONE, Replica
from pipeline.training.step import Losses, State, critic_step, separator_step

MONITOR = "validation/L_s"


class AdversarialSeparation(lightning.LightningModule):
    """A run of one model: its `State`, its batches, and where it stands between two updates."""

    def __init__(
        self,
        params: Params,
        model: Model,
        batches: Batches,
        validation: Pool,
        replica: Replica = ALONE,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.params, self.model, self.replica = params, model, replica
        self.batches, self.validation = batches, validation
        bins = params.signal.bins
        # the separator first: all models of one seed start from the same separator
        torch.manual_seed(params.seed)
        self.separator = build_separator(params.separator.model_dump(), bins, len(params.sources))
        self.critics = nn.ModuleDict(
            {source: build_critic(params.critic.model_dump(), bins) for source in model.critics}
        )
        self.to(memory_format=torch.channels_last)
        self.state = State(self.separator, self.critics, params.sources)
        self.losses: Losses = {}
        """Of the running step, as far as it has come."""
        self.totals: Losses = {}
        """The losses of this epoch's steps, summed."""
        self.already_done = 0
        """Steps of the running epoch that were done before the run was stopped and resumed."""
        self.stop_signal: signal.Signals | None = None
        """Set from outside: stop after the running update, with a checkpoint."""
        self.peaks = torch.zeros(len(params.sources), 2)
        """Largest estimate and reference of each source in the running validation pass, as far as it
        was looked at: whether they are above zero is what counts."""

    def configure_optimizers(self) -> list[Adam]:
        networks = [self.separator, *self.critics.values()]
        rate = self.params.training.learning_rate
        return [Adam(network.parameters(), lr=rate, fused=True) for network in networks]

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
        numbers = {source: self.params.sources.index(source) for source in self.critics}
        while numbers and state.critic_updates < (state.steps + 1) * settings.critic_steps:
            critic_batch = self.batches.for_critics(state.critic_updates, numbers)
            self.losses |= critic_step(state, critic_batch, settings, self.agree)
            self.stop_if_asked()
        batch = self.batches.for_separator(state.steps)
        self.losses |= separator_step(state, batch, self.model, settings, self.agree)
        for name, value in self.losses.items():
            self.totals[name] = self.totals.get(name, 0) + value.detach().double()
        self.log("L_s", self.losses["L_s"].detach(), prog_bar=True, logger=False)
        self.losses = {}
        self.stop_if_asked()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean losses."""
        steps = self.params.training.steps_per_epoch
        self.log_dict(
            {f"training/{name}": (total / steps).float() for name, total in self.totals.items()}
        )
        # the x axis of the curves: separator updates, not the optimisers' steps taken together
        self.log("step", float(self.state.steps))
        self.totals = {}

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
        path = getattr(callback, "last_model_path", "") if callback else ""
        return path or "none was written yet"

    # ----------------------------------------------------------------------------- validation

    def on_validation_epoch_start(self) -> None:
        self.peaks.zero_()

    def validation_step(self, starts: Tensor, batch_index: int) -> STEP_OUTPUT:
        """L_s of a batch of validation excerpts, given their first frames (n,)."""
        self.stop_if_asked()
        starts = starts.cpu()
        pool = self.validation
        estimates = self.separator(pool.gather(starts, 0, context=True))
        references = pool.gather_sources(starts)
        loss = supervised_loss(estimates, references)
        # the mean over batches weighs each by its excerpts: the last batch is smaller
        self.log(
            MONITOR, loss, on_epoch=True, prog_bar=True, batch_size=len(starts), sync_dist=True
        )
        if (self.peaks == 0).any():  # until every source was heard, in the first batch as a rule
            peaks = torch.stack([estimates.amax((0, 2, 3)), references.amax((0, 2, 3))], dim=1)
            self.peaks = torch.maximum(self.peaks, peaks.cpu())
        return loss

    def on_validation_epoch_end(self) -> None:
        """Raises UserError when a source is estimated as zero for every validation excerpt."""
        self.log("step", float(self.state.steps))
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
        for name in ("steps", "critic_updates"):
            checkpoint[name] = getattr(self.state, name)
        for name in ("losses", "totals"):
            checkpoint[name] = {key: value.detach() for key, value in getattr(self, name).items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name in ("steps", "critic_updates"):
            setattr(self.state, name, checkpoint[name])
        for name in ("losses", "totals"):
            moved = {key: value.to(self.device) for key, value in checkpoint[name].items()}
            setattr(self, name, moved)
