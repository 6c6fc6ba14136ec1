"""What the server remembers: jobs, passwords, repositories, sessions; never a secret."""
