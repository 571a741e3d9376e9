"""The files of a plugin with a claim."""

SOURCE = "from bnnlab import hookimpl\n@hookimpl\ndef bnnlab_commands():\n    return []\n"
RECIPE = """
rule = "bp"
optimizer = "sgd"
epochs = 2
batch_size = 400
device = "cpu"
[recipe.short]
epochs = 1
[model]
name = "mlp"
hidden = [4]
[stream]
name = "permuted-digits"
tasks = 2
"""
CLAIM = """
[tiny]
of = ["optimizer:sgd"]
says = "Accuracy on two orders of the digits."
source = "Doe and Roe 2020"
place = "Table 2"
measure = "accuracy.-1.-2:"
published = 90.0
spread = 0.5
published_seeds = 5
[tiny.full]
seeds = [0, 1]
[tiny.quick]
seeds = [0, 1]
short = true
expect = [0.0, 60.0]
"""
MEASURED = """
[tiny.full]
values = [91.0, 92.0]
seeds = [0, 1]
protocol = "0123456789abcdef"
commit = "abc"
minutes = 1.5
date = "2026-12-01"
"""
