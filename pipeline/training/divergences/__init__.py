"""What a critic measures between real and estimated sources: a file each, found by its name.

`critic(real, fake)` is what the critic maximises, `separator(fake)` the part of it that depends on
the separator, which minimises it; real, fake: scores (n, 1). For the best critic the first is the
divergence itself. js and kl: variational bounds of Nowozin, Cseke and Tomioka, NeurIPS 2016.
"""
