"""What runs as PID 1 in a worker pod: torchrun's elastic agent, made safe, with the job's own store and servers.

It also runs inside foreign images that have torch and nothing else of ours, so it imports the standard library, torch
and the words shared with the operator, and nothing more.
"""
