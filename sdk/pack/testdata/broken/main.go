package main

func main() { thisIsNotDefined() }
