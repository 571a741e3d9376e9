from bnnlab_studies.contracts import *
