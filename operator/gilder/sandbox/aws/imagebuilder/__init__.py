"""EC2 Image Builder: its resources, and builds that the sandbox's clock drives."""
