"""bnnlab plugin: BayesBiNN, a posterior over binary weights by the Bayesian learning rule."""
