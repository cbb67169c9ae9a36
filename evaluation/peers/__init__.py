"""Programs that run in .venv-peers (`make peers`), with libraries that ours can't live beside.

They import nothing of ours and speak by files: npz in, npz out.
"""
