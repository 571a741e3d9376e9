from bnnlab_wandb.contracts import *
