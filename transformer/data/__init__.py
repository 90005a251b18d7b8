"""text -> ids -> batches"""
