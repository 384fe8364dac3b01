defmodule Consumer do
  @doc "Starts a table, writes a record and reads it back."
  def run do
    {:ok, _} = Application.ensure_all_started(:ferrets)
    {:ok, pid} = Ferrets.start(:sessions, %{})
    record = {{"alice", "laptop"}, self(), %{since: 1}}
    :ok = Ferrets.insert(:sessions, record)
    [^record] = Ferrets.lookup(:sessions, {"alice", "laptop"})
    :ok = Ferrets.stop(pid)
    IO.puts("read back from Elixir")
  end
end
