"""The engine, which takes the steps of K runs, and who fills their gradients."""
