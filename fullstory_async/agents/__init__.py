"""Sessions for AI agents, and what they may spend: the MCP server. Its SDK comes with the extra ``mcp``."""
