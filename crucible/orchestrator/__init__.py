"""The state machine around the nodes: which runs when, how a run is kept, and how it goes on."""
