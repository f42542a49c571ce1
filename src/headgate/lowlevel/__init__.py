"""What Python, asyncio and aiohttp lack. Knows nothing of headgate."""
