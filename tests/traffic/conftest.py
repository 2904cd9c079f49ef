import sys

from citynode.resources import firmware

# The node's code is imported as the node has it: `node.…`.
sys.path.append(str(firmware()))
