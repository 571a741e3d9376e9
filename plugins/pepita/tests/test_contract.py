from bnnlab_pepita.contracts import *
