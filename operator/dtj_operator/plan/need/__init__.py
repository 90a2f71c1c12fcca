"""What a job that goes on needs: its admission, its members, its objects and pods, and that the members meet."""
