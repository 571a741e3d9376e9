from bnnlab_analysis.contracts import *
