//! An agent started by a test: free ports, a folder of its own, ended when dropped, its log shown when the test fails.
