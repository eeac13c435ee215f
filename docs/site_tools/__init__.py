"""What the build of the site adds to Sphinx: pages made from the code, llms.txt, a check of all links."""
