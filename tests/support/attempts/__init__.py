"""What a guest that broke out of its engine might attempt, natively. Standard library only.

Where an attempt would do harm if it succeeded, its arguments are such that only the permission is tested.
"""
