"""One training step: critics first, then the separator (paper, section 4.3)."""

from collections.abc import Mapping
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Adam

from pipeline.errors import UserError
from pipeline.models.critic import Critic
from pipeline.objectives import (
    additivity_loss,
    divergence,
    gradient_penalty,
    supervised_loss,
    unsupervised_loss,
)
from pipeline.params import Model, Params
from pipeline.sampling import Batches, Pool
from pipeline.separation import build

MONITOR = "validation/L_s"


class AdversarialSeparation(lightning.LightningModule):
    """Everything that training owns: the separator, a critic per chosen source, their losses."""

    def __init__(self, params: Params, model: Model, batches: Batches, validation: Pool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.params, self.model = params, model
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
        self.peaks = torch.zeros(len(params.sources), 2)
        """Largest estimate and reference of each source in the running validation pass."""

    def named_critics(self) -> dict[str, Critic]:
        """Source name to its critic, in the order of the optimisers."""
        return cast(dict[str, Critic], dict(self.critics.items()))

    def configure_optimizers(self) -> list[Adam]:
        networks = [self.separator, *self.named_critics().values()]
        rate = self.params.training.learning_rate
        return [Adam(network.parameters(), lr=rate) for network in networks]

    # ------------------------------------------------------------------------------- one step

    def training_step(self, batch: int, batch_index: int) -> None:
        """One separator update, after N_disc updates of every critic; the batch is not used."""
        optimisers = self.optimizers()
        separator, *critics = optimisers if isinstance(optimisers, list) else [optimisers]
        losses: dict[str, Tensor] = {}
        if critics:
            for update in range(self.params.training.critic_steps):
                step = self.steps * self.params.training.critic_steps + update
                losses |= self.update_critics(critics, step)
        losses |= self.separator_losses(self.steps)
        self.stop_unless_finite(losses)
        separator.zero_grad()
        self.manual_backward(losses["L"])
        separator.step()
        self.steps += 1
        self.log_dict(
            {f"training/{name}": value.detach() for name, value in losses.items()},
            on_step=False, on_epoch=True, batch_size=1,
        )  # fmt: skip
        # the x axis of the curves: separator updates, not the optimisers' steps taken together
        self.log("step", float(self.steps), on_step=False, on_epoch=True, reduce_fx="max")
        self.log("L_s", losses["L_s"].detach(), prog_bar=True, logger=False)

    def update_critics(self, optimisers: list[Any], step: int) -> dict[str, Tensor]:
        """One update of every critic, on the same mixtures and on real recordings of its source."""
        settings = self.params.training
        with torch.no_grad():
            estimates = self.separator(self.batches.mixture("critics", step))
        losses: dict[str, Tensor] = {}
        for (source, critic), optimiser in zip(
            self.named_critics().items(), optimisers, strict=True
        ):
            number = self.params.sources.index(source)
            fake = critic.view(estimates[:, number])
            real = critic.view(self.batches.real(number, step))
            scores = critic(torch.cat([real, fake]))
            distance = divergence(scores[: len(real)], scores[len(real) :], settings.divergence)
            epsilon = self.batches.epsilon(number, step).to(fake.device)
            penalty = gradient_penalty(critic, real, fake, epsilon)
            losses |= {f"distance_{source}": distance, f"penalty_{source}": penalty}
            self.stop_unless_finite(losses)
            optimiser.zero_grad()
            self.manual_backward(settings.penalty_weight * penalty - distance)
            optimiser.step()
        return losses

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
        starts = starts.cpu()
        pool = self.validation
        estimates = self.separator(pool.gather(starts, 0, context=True))
        sources = range(1, 1 + len(self.params.sources))
        references = torch.stack([pool.gather(starts, source) for source in sources], dim=1)
        loss = supervised_loss(estimates, references)
        # the mean over batches weighs each by its excerpts: the last batch is smaller
        self.log(MONITOR, loss, on_epoch=True, prog_bar=True, batch_size=len(starts))
        peaks = torch.stack([estimates.amax((0, 2, 3)), references.amax((0, 2, 3))], dim=1)
        self.peaks = torch.maximum(self.peaks, peaks.cpu())
        return loss

    def on_validation_epoch_end(self) -> None:
        """Raises UserError when a source is estimated as zero for every validation excerpt."""
        self.log("step", float(self.steps))
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

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.steps = checkpoint["steps"]
