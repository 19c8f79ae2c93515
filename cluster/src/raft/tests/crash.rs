//! A process that ends without notice: whatever it acknowledged is there when it starts again.
