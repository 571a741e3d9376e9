from bnnlab_optuna.contracts import *
