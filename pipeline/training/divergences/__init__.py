"""What a critic measures between real and estimated sources: a file each, found by its name.

`critic(real, fake)` is what the critic maximises, `separator(fake)` the part of it that depends on
the separator, which minimises it; real, fake: scores (n, 1). Of the best critic without bounds the
first is the divergence itself. js and kl: variational bounds of Nowozin, Cseke and Tomioka, NeurIPS
2016; as there with `penalty: none`. A penalty on the critic's gradient keeps its slopes below about
1, as wasserstein asks, whatever it measures: js and kl then give less than the divergences of these
names.
"""
