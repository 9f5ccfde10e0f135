"""One training step: critics first, then the separator (paper, section 4.3)."""

import signal
from collections.abc import Iterable, Mapping
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Adam

from pipeline.errors import Stopped, UserError
from pipeline.networks.critics.dcgan import Critic
from pipeline.params import Model, Params
from pipeline.separation.separator import build
from pipeline.training.batches import Batches, Pool
from pipeline.training.losses import (
    additivity_loss,
    divergence,
    gradient_penalty,
    supervised_loss,
    unsupervised_loss,
)
from pipeline.training.replicas import ALONE, Processes

MONITOR = "validation/L_s"


class AdversarialSeparation(lightning.LightningModule):
    """Everything that training owns: the separator, a critic per chosen source, their losses."""

    def __init__(
        self,
        params: Params,
        model: Model,
        batches: Batches,
        validation: Pool,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.params, self.model, self.processes = params, model, processes
        self.batches, self.validation = batches, validation
        # the separator first: all models of one seed start from the same separator
        torch.manual_seed(params.seed)
        self.separator = build(params)
        self.critics = nn.ModuleDict(
            {
                source: Critic(params.critic.filters, params.signal.bins - 1)
                for source in model.critics
            }
        )
        self.to(memory_format=torch.channels_last)
        self.steps = 0
        """Separator updates done; batches are drawn by it."""
        self.critic_updates = 0
        """Updates of each critic done."""
        self.losses: dict[str, Tensor] = {}
        """Of the running step, as far as it has come."""
        self.totals: dict[str, Tensor] = {}
        """The losses of this epoch's steps, summed."""
        self.already_done = 0
        """Steps of the running epoch that were done before the run was stopped and resumed."""
        self.stop_signal: signal.Signals | None = None
        """Set from outside: stop after the running update, with a checkpoint."""
        self.peaks = torch.zeros(len(params.sources), 2)
        """Largest estimate and reference of each source in the running validation pass, as far as it
        was looked at: whether they are above zero is what counts."""

    def named_critics(self) -> dict[str, Critic]:
        """Source name to its critic, in the order of the optimisers."""
        return cast(dict[str, Critic], dict(self.critics.items()))

    def configure_optimizers(self) -> list[Adam]:
        networks = [self.separator, *self.named_critics().values()]
        rate = self.params.training.learning_rate
        return [Adam(network.parameters(), lr=rate, fused=True) for network in networks]

    # ------------------------------------------------------------------------------- one step

    def on_train_epoch_start(self) -> None:
        self.already_done = self.steps - self.current_epoch * self.params.training.steps_per_epoch

    def training_step(self, batch: int, batch_index: int) -> None:
        """One separator update, after N_disc updates of every critic; the batch is not used.

        Every update is complete in itself: a run that is stopped goes on with the next one.
        """
        if batch_index < self.already_done:
            return
        optimisers = self.optimizers()
        separator, *critics = optimisers if isinstance(optimisers, list) else [optimisers]
        if critics:
            n_disc = self.params.training.critic_steps
            while self.critic_updates < (self.steps + 1) * n_disc:
                self.losses |= self.update_critics(critics, self.critic_updates)
                self.critic_updates += 1
                self.stop_if_asked()
        losses = self.separator_losses(self.steps)
        separator.zero_grad()
        self.manual_backward(losses["L"])
        self.losses |= self.agree([self.separator], losses)
        separator.step()
        self.steps += 1
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
        self.log("step", float(self.steps))
        self.totals = {}

    def update_critics(self, optimisers: list[Any], step: int) -> dict[str, Tensor]:
        """One update of every critic, on the same mixtures and on real recordings of its source."""
        with torch.no_grad():
            estimates = self.separator(self.batches.mixture("critics", step))
        settings = self.params.training
        losses: dict[str, Tensor] = {}
        for source, critic in self.named_critics().items():
            number = self.params.sources.index(source)
            fake = critic.view(estimates[:, number])
            real = critic.view(self.batches.real(number, step))
            scores = critic(torch.cat([real, fake]))
            distance = divergence(scores[: len(real)], scores[len(real) :], settings.divergence)
            epsilon = self.batches.epsilon(number, step).to(fake.device)
            penalty = gradient_penalty(critic.input_gradient, real, fake, epsilon)
            losses |= {f"distance_{source}": distance, f"penalty_{source}": penalty}
        for optimiser in optimisers:
            optimiser.zero_grad()
        # no critic's loss depends on another's weights
        self.manual_backward(
            torch.stack(
                [
                    settings.penalty_weight * losses[f"penalty_{source}"]
                    - losses[f"distance_{source}"]
                    for source in self.critics
                ]
            ).sum()
        )
        losses = self.agree(self.named_critics().values(), losses)
        for optimiser in optimisers:
            optimiser.step()
        return losses

    def agree(
        self, networks: Iterable[nn.Module], losses: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Average gradients and losses over the processes, before any weight changes.

        Raises UserError when a loss is not finite, in every process alike.
        """
        values, stop = self.processes.average(
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
                f"stopped by {self.stop_signal.name} after {self.steps} separator steps; the same"
                " command goes on from there",
                self.stop_signal,
            )

    def separator_losses(self, step: int) -> dict[str, Tensor]:
        """L = L_s + alpha L_u + beta L_add and its the terms that the model has (eq. 4, 5)."""
        settings = self.params.training
        mixture, references = self.batches.paired(step)
        supervised = supervised_loss(self.separator(mixture), references)
        # L comes last: of losses that are not finite, the first is named
        losses = {"L_s": supervised}
        if not self.model.unlabelled:
            return losses | {"L": supervised}
        mixture = self.batches.mixture("separator", step)
        estimates = self.separator(mixture)
        context = self.separator.context
        losses["L_add"] = additivity_loss(
            estimates, mixture[:, :, context:-context], settings.additivity_domain
        )
        self.critics.requires_grad_(False)
        terms = [
            unsupervised_loss(
                critic(critic.view(estimates[:, self.params.sources.index(source)])),
                settings.divergence,
            )
            for source, critic in self.named_critics().items()
        ]
        self.critics.requires_grad_(True)
        losses["L_u"] = torch.stack(terms).sum() if terms else supervised.new_zeros(())
        losses["L"] = (
            supervised + self.model.alpha * losses["L_u"] + self.model.beta * losses["L_add"]
        )
        return losses

    def stop_unless_finite(self, losses: Mapping[str, Tensor]) -> None:
        """Raises UserError naming the step, the loss and the checkpoint to go back to."""
        values = torch.stack([value.detach() for value in losses.values()])
        if torch.isfinite(values).all():
            return
        name = next(name for name, value in losses.items() if not torch.isfinite(value))
        raise UserError(
            f"{name} is {losses[name].item()} at step {self.steps} of the separator; the checkpoint"
            f" to go back to: {self.last_checkpoint()}; a lower training.learning_rate or alpha"
            " usually mends it"
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
        self.log("step", float(self.steps))
        self.peaks = self.processes.maximum(self.peaks)
        for source, (estimate, reference) in zip(self.params.sources, self.peaks, strict=True):
            if estimate == 0 and reference > 0:
                raise UserError(
                    f"dead output: {source} is estimated as silence for every validation excerpt"
                    f" after {self.steps} steps, and nothing will revive it; try another seed or a"
                    f" lower training.learning_rate (last checkpoint: {self.last_checkpoint()})"
                )

    # ----------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps"] = self.steps
        checkpoint["critic_updates"] = self.critic_updates
        for name in ("losses", "totals"):
            checkpoint[name] = {key: value.detach() for key, value in getattr(self, name).items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.steps = checkpoint["steps"]
        self.critic_updates = checkpoint["critic_updates"]
        for name in ("losses", "totals"):
            moved = {key: value.to(self.device) for key, value in checkpoint[name].items()}
            setattr(self, name, moved)
