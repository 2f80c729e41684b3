"""What operators order, by whichever door: done and told as data. What a person reads of it is the door's to say."""
