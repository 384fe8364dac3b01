defmodule FerretsTest do
  use ExUnit.Case, async: true

  doctest Ferrets
  doctest Ferrets.Local

  test "a table stands in a supervision tree and is started again" do
    start_supervised!({Ferrets, name: :tree_sessions, type: :set})
    start_supervised!({Ferrets, %{name: :tree_users}})
    server = Process.whereis(:tree_sessions)
    :ok = Ferrets.insert(:tree_sessions, {"anna", self()})
    assert Ferrets.lookup(:tree_sessions, "anna") == [{"anna", self()}]
    assert Ferrets.info(:tree_sessions).type == :set
    assert Ferrets.info(:tree_users).type == :ordered_set

    monitor = Process.monitor(server)
    Process.exit(server, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^server, :killed}
    wait_until(fn -> Process.whereis(:tree_sessions) not in [nil, server] end)
    assert Ferrets.ping(:tree_sessions) == :pong
    assert Ferrets.size(:tree_sessions) == 0
  end

  test "options are a keyword list or a map" do
    assert {:ok, _} = Ferrets.start(:keyword_options, keypos: 2)
    assert {:ok, _} = Ferrets.start(:map_options, %{keypos: 2})
    assert Ferrets.info(:keyword_options).opts == Ferrets.info(:map_options).opts
    assert Ferrets.stop(:keyword_options) == :ok
    assert Ferrets.stop(:map_options) == :ok
  end

  test "a wrong option is named" do
    assert Ferrets.start(:wrong_options, type: :bug, colour: :red) ==
             {:error,
              [
                {:unknown_option, %{option: :colour}},
                {:bad_option, %{option: :type, value: :bug}}
              ]}

    assert_raise KeyError, fn -> Ferrets.start_link(type: :set) end
  end

  test "two tables are joined" do
    {:ok, left} = Ferrets.start_link(name: :join_left)
    {:ok, right} = Ferrets.start_link(name: :join_right)
    :ok = Ferrets.insert(:join_left, {1, :left})
    :ok = Ferrets.insert(:join_right, {2, :right})
    assert Ferrets.join(:lock, %{}, left, right) == :ok
    assert Ferrets.dump(:join_left) == [{1, :left}, {2, :right}]
    assert Ferrets.dump(:join_right) == [{1, :left}, {2, :right}]
    assert Ferrets.other_pids(:join_left) == [right]
  end

  test "structs and other Elixir terms are values" do
    {:ok, _} = Ferrets.start_link(name: :structs)
    :ok = Ferrets.insert(:structs, {:range, 1..3, ~D[2024-02-29]})
    assert [{:range, 1..3, ~D[2024-02-29]}] = Ferrets.lookup(:structs, :range)
  end

  test "a caller's mistake raises in the caller" do
    {:ok, server} = Ferrets.start_link(name: :mistakes)
    assert_raise ArgumentError, fn -> Ferrets.insert(:mistakes, :no_tuple) end
    assert_raise ArgumentError, fn -> Ferrets.insert_many(:mistakes, [{1}, {}]) end
    assert_raise ArgumentError, fn -> Ferrets.lookup(:no_such_table, 1) end
    assert {:noproc, {:gen_server, :call, _}} = catch_exit(Ferrets.insert(:no_such_table, {1}))
    assert Process.whereis(:mistakes) == server
    assert Ferrets.size(:mistakes) == 0
  end

  test "everything of the Erlang API has its delegate" do
    erlang = :ferrets.module_info(:exports) -- [module_info: 0, module_info: 1]
    assert erlang -- Ferrets.__info__(:functions) == []
  end

  defp wait_until(holds), do: holds.() || wait_until(holds)
end
