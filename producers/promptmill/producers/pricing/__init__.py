"""Prices, token counts and cost estimates."""
