from bnnlab_vit.contracts import *
