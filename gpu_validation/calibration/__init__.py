"""Fitting the model of weight sharing to recorded supernets, and judging it by what it was not fitted to.

    recordings    traces as one array of gradients with their errors
    model         parameters of the ladder of models -> predicted gradients (the landscape's own code)
    fit           bounded weighted least squares, errors by bootstrap over runs
    heldout       leave one method, seed or width out; the baselines on the same runs and measure
    noise         what is left: step noise, its growth and each run's own pattern
    trajectories  searches simulated with the fit against the recorded ones

Needs no torch: a recording is a file.
"""
