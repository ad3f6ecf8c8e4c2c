"""The embed role: fetch inputs, decode them within limits, measure conditions, embed, complete the sample."""
