from bnnlab_bayesbinn.contracts import *
