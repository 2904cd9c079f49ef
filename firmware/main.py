"""Start the application of the chosen slot."""

from node.hal import compose

compose.main()
