"""What a critic measures between real and estimated sources: a file each, found by its name.

`critic(real, fake)` is what the critic maximises, `separator(fake)` the part of it that depends on
the separator, which minimises it; real, fake: scores (n, 1). Of the best critic without bounds the
first is the divergence itself. js and kl: variational bounds of Nowozin, Cseke and Tomioka, NeurIPS
2016. But the gradient penalty is part of every critic's objective, whatever it measures: it keeps
slopes below about 1, as wasserstein asks. So js and kl give less than the divergences of these
names.
"""
