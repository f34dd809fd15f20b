"""Category discovery: new classes among unlabelled images, beside known ones that have labels."""
