"""A fitted scorer inside other frameworks: LangChain and LangSmith, LlamaIndex, ragas, maps over `datasets`."""
