"""Resources the end-to-end tests apply: the toy server's models, and pipelines over them."""

TOYS = "mul10 add10 sum echo raw conditional error hdr slow unavail internal".split()


def server(address):
    return f"""
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {{name: toy}}
spec:
  address: {address}
  restAddress: {address}
  capabilities: [toy]
"""


def model(name, requirements="toy", **spec):
    more = "".join(f"\n  {key}: {value}" for key, value in spec.items())
    return f"""
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {{name: {name}}}
spec:
  requirements: [{requirements}]{more}
"""


def pipeline(name, spec):
    indented = "\n".join("  " + line for line in spec.strip("\n").splitlines())
    return f"""
apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata: {{name: {name}}}
spec:
{indented}
"""


def toys(address):
    return "---".join([server(address), *(model(name) for name in TOYS)])


CHAIN = pipeline("chain", """
steps:
- name: mul10
- name: add10
  inputs: [mul10]
  tensorMap: {mul10.outputs.OUTPUT: INPUT}
output:
  steps: [add10]
""")

JOIN = pipeline("join", """
steps:
- name: mul10
- name: add10
- name: sum
  inputs: [mul10.outputs.OUTPUT, add10.outputs.OUTPUT]
  tensorMap: {mul10.outputs.OUTPUT: A, add10.outputs.OUTPUT: B}
output:
  steps: [sum]
""")

CONDITIONAL = pipeline("choose", """
steps:
- name: conditional
- name: mul10
  inputs: [conditional.outputs.OUTPUT0]
  tensorMap: {conditional.outputs.OUTPUT0: INPUT}
- name: add10
  inputs: [conditional.outputs.OUTPUT1]
  tensorMap: {conditional.outputs.OUTPUT1: INPUT}
output:
  steps: [mul10, add10]
  stepsJoin: any
""")

FAILING = pipeline("failing", """
steps:
- name: mul10
- name: error
  inputs: [mul10]
output:
  steps: [error]
""")

SLOW = pipeline("slowly", """
steps:
- name: slow
output:
  steps: [slow]
""")

QUIET = pipeline("quiet", """
steps:
- name: mul10
""")


def fp32(values, name="INPUT"):
    return {"name": name, "shape": [1, len(values)], "datatype": "FP32", "data": values}
