from bnnlab_metaplasticity.contracts import *
