"""A model as it will be written: checked, quantised as asked, with what comes before and after it, traced."""
