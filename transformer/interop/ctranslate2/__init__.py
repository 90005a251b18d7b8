"""Exports models to CTranslate2."""
