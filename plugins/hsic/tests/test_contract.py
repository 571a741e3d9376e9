from bnnlab_hsic.contracts import *
