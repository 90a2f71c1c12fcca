"""How the ranks share one model: the mesh, DDP, FSDP2, tensor groups, and norms over whatever meshes there are."""
