# A machine that others use as well may be slow: who waits for a message that must come waits long.
ExUnit.start(assert_receive_timeout: 5_000)
