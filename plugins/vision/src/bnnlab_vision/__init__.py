"""Streams of tasks over digits, MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100."""
