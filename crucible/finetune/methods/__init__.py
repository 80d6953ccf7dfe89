"""How a model is trained: a file for each method, and what they share."""

NEEDS = "training needs TRL and PEFT; install them with: pip install 'crucible-codegen[finetune]'"
