"""Networks: layers between a first layer that scales inputs and a last that scales targets back."""
