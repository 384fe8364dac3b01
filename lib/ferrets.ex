defmodule Ferrets do
  @moduledoc """
  Replicated in-memory tables: every node holds the whole table, reads are local, writes are everywhere when they
  return.

  This is the Elixir face of the Erlang module `:ferrets`, which has the guarantees in its header. A table stands in a
  supervision tree:

      children = [
        {Ferrets, name: :sessions, type: :set}
      ]

  and is read and written on every node under its name:

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_sessions)
      iex> Ferrets.insert(:doc_sessions, {"anna", :online, %{since: 2024}})
      :ok
      iex> Ferrets.lookup(:doc_sessions, "anna")
      [{"anna", :online, %{since: 2024}}]
      iex> Ferrets.lookup(:doc_sessions, "bert")
      []

  Tables of two nodes are joined with `join/4`.

  A `t:server/0` is a table of this node by its name, or the server of a table anywhere. A caller's mistake raises
  `ArgumentError` or `FunctionClauseError` in the caller. A read of a table that is not there raises `ArgumentError`; a write
  to a name that nobody holds exits with `{:noproc, {:gen_server, :call, _}}`.
  """

  @typedoc "A table's name on this node."
  @type table :: :ferrets.table()

  @typedoc "A table of this node by name, or its server anywhere."
  @type server :: :ferrets.server()

  @type key :: term

  @typedoc "A pattern, as `:ets.match_object/2` takes it."
  @type pattern :: :ets.match_pattern()

  @typedoc "A match specification, as `:ets.select/2` takes it, and as `:ets.fun2ms/1` makes it."
  @type match_spec :: :ets.match_spec()

  @typedoc "Where a query with a limit goes on; good on its node, for as long as its table lives."
  @type continuation :: :ferrets.continuation()

  @type request_id :: :ferrets.request_id()
  @type response :: {:reply, term} | :timeout | {:error, {reason :: term, server :: term}}

  @typedoc """
  Options of a table.

    * `:type` - `:ordered_set` (the default) or `:set`, as in `:ets`
    * `:keypos` - the position of the key in a record, from 1, which is the default
    * `:handle_down` - a function of one argument, called once on each surviving node when a linked server is gone, with
      a map of `:remote_pid`, `:remote_node`, `:table` and `:is_leader`
    * `:tombstone_ttl` - for how many milliseconds a deletion outlives a netsplit; 300 000 by default
    * `:stall_timeout` - how many milliseconds a linked peer may owe an answer before it is given up, and holds up writers
      no longer; 10 000 by default
    * `:compare_interval` - how many milliseconds lie between two comparisons of digests with the linked peers; 60 000 by
      default
  """
  @type options :: keyword | map

  @doc """
  The child specification for a supervisor. The options are those of `start_link/1`.

      iex> Ferrets.child_spec(name: :sessions, type: :set)
      %{id: {Ferrets, :sessions}, start: {Ferrets, :start_link, [[name: :sessions, type: :set]]}}
  """
  @spec child_spec(options) :: Supervisor.child_spec()
  def child_spec(options) do
    %{id: {Ferrets, Map.new(options).name}, start: {Ferrets, :start_link, [options]}}
  end

  @doc """
  Starts a table under a supervisor. `:name` is required; the other options are those of `t:options/0`.

      iex> {:ok, pid} = Ferrets.start_link(name: :doc_start_link, type: :set)
      iex> pid == Process.whereis(:doc_start_link)
      true
  """
  @spec start_link(options) :: {:ok, pid} | {:error, :ferrets.start_error()}
  def start_link(options) do
    {name, options} = Map.pop!(Map.new(options), :name)
    :ferrets.start_link(name, options)
  end

  @doc """
  Starts a table that is linked to the caller. All that is wrong with the options is in the error.

      iex> Ferrets.start_link(:doc_options, keypos: 0)
      {:error, [bad_option: %{option: :keypos, value: 0}]}
  """
  @spec start_link(table, options) :: {:ok, pid} | {:error, :ferrets.start_error()}
  def start_link(table, options), do: :ferrets.start_link(table, Map.new(options))

  @doc "Starts a table that is linked to nobody."
  @spec start(table, options) :: {:ok, pid} | {:error, :ferrets.start_error()}
  def start(table, options), do: :ferrets.start(table, Map.new(options))

  @doc "Ends the table's server, and the table with it. Peers keep their records."
  @spec stop(server) :: :ok
  defdelegate stop(server), to: :ferrets

  @doc """
  Joins the clusters of two servers. Afterwards every pair of their servers is linked and holds the same data.

      Ferrets.join(:lock, %{}, Process.whereis(:sessions), :erpc.call(node, Process, :whereis, [:sessions]))
  """
  @spec join(lock_key :: term, info :: map, local :: pid, remote :: pid) ::
          :ok | {:error, :ferrets_join.error()}
  defdelegate join(lock_key, info, local, remote), to: :ferrets_join

  @doc """
  Writes a record over whatever stands under its key, on every linked node.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_insert)
      iex> Ferrets.insert(:doc_insert, {:a, 1})
      :ok
      iex> Ferrets.insert(:doc_insert, {:a, 2})
      :ok
      iex> Ferrets.tab2list(:doc_insert)
      [a: 2]
  """
  @spec insert(server, tuple) :: :ok
  defdelegate insert(server, record), to: :ferrets

  @doc """
  Writes all of the records, or none of them if one is none.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_insert_many)
      iex> Ferrets.insert_many(:doc_insert_many, [{:a, 1}, {:b, 2}])
      :ok
      iex> Ferrets.size(:doc_insert_many)
      2
  """
  @spec insert_many(server, [tuple]) :: :ok
  defdelegate insert_many(server, records), to: :ferrets

  @doc """
  Deletes what is under a key, on every linked node. An absent key is fine.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_delete)
      iex> Ferrets.insert(:doc_delete, {:a, 1})
      iex> Ferrets.delete(:doc_delete, :a)
      :ok
      iex> Ferrets.member(:doc_delete, :a)
      false
  """
  @spec delete(server, key) :: :ok
  defdelegate delete(server, key), to: :ferrets

  @doc "Deletes what is under each of the keys, on every linked node."
  @spec delete_many(server, [key]) :: :ok
  defdelegate delete_many(server, keys), to: :ferrets

  @doc """
  Like `insert/2` or, for a list, `insert_many/2`, but does not wait for the other nodes.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_request)
      iex> request = Ferrets.insert_request(:doc_request, {:a, 1})
      iex> Ferrets.wait_response(request, 5000)
      {:reply, :ok}
  """
  @spec insert_request(server, tuple | [tuple]) :: request_id
  defdelegate insert_request(server, records), to: :ferrets

  @doc "Like `insert_many/2`, but does not wait for the other nodes."
  @spec insert_many_request(server, [tuple]) :: request_id
  defdelegate insert_many_request(server, records), to: :ferrets

  @doc "Like `delete/2`, but does not wait for the other nodes."
  @spec delete_request(server, key) :: request_id
  defdelegate delete_request(server, key), to: :ferrets

  @doc "Like `delete_many/2`, but does not wait for the other nodes."
  @spec delete_many_request(server, [key]) :: request_id
  defdelegate delete_many_request(server, keys), to: :ferrets

  @doc "The answer to a request. After `:timeout` it may be waited for again."
  @spec wait_response(request_id, timeout) :: response
  defdelegate wait_response(request_id, timeout), to: :ferrets

  @doc """
  The answers to many requests, in the order of the ids. The time is for all of them together: milliseconds, or
  `{:abs, ms}` in Erlang monotonic time.
  """
  @spec wait_responses([request_id], timeout | {:abs, integer}) :: [response]
  defdelegate wait_responses(request_ids, timeout), to: :ferrets

  @doc "The records under a key, on this node. Never a message."
  @spec lookup(table, key) :: [tuple]
  defdelegate lookup(table, key), to: :ferrets

  @doc """
  An element of the record under a key.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_element)
      iex> Ferrets.insert(:doc_element, {:a, 1})
      iex> Ferrets.lookup_element(:doc_element, :a, 2)
      1
      iex> Ferrets.lookup_element(:doc_element, :b, 2)
      ** (ArgumentError) argument error
  """
  @spec lookup_element(table, key, pos_integer) :: term
  defdelegate lookup_element(table, key, position), to: :ferrets

  @doc "An element of the record under a key, or the default if there is no such record."
  @spec lookup_element(table, key, pos_integer, term) :: term
  defdelegate lookup_element(table, key, position, default), to: :ferrets

  @doc "Whether there is a record under a key, on this node."
  @spec member(table, key) :: boolean
  defdelegate member(table, key), to: :ferrets

  @doc "How many records this node holds."
  @spec size(table) :: non_neg_integer
  defdelegate size(table), to: :ferrets

  @doc "The first key, or `:\"$end_of_table\"`."
  @spec first(table) :: key | :"$end_of_table"
  defdelegate first(table), to: :ferrets

  @doc "The last key, or `:\"$end_of_table\"`."
  @spec last(table) :: key | :"$end_of_table"
  defdelegate last(table), to: :ferrets

  @doc """
  The key after a key, or `:"$end_of_table"`.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_next)
      iex> Ferrets.insert_many(:doc_next, [{1}, {3}])
      iex> Ferrets.next(:doc_next, 1)
      3
      iex> Ferrets.next(:doc_next, 3)
      :"$end_of_table"
  """
  @spec next(table, key) :: key | :"$end_of_table"
  defdelegate next(table, key), to: :ferrets

  @doc "The key before a key, or `:\"$end_of_table\"`."
  @spec prev(table, key) :: key | :"$end_of_table"
  defdelegate prev(table, key), to: :ferrets

  @doc "All records of this node, in the table's order."
  @spec tab2list(table) :: [tuple]
  defdelegate tab2list(table), to: :ferrets

  @doc "The same as `tab2list/1`."
  @spec dump(table) :: [tuple]
  defdelegate dump(table), to: :ferrets

  @doc """
  Folds over the records of this node, from the first to the last.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_foldl)
      iex> Ferrets.insert_many(:doc_foldl, a: 1, b: 2)
      iex> Ferrets.foldl(fn {_key, value}, sum -> sum + value end, 0, :doc_foldl)
      3
  """
  @spec foldl((tuple, acc -> acc), acc, table) :: acc when acc: term
  defdelegate foldl(fun, acc, table), to: :ferrets

  @doc "Folds over the records of this node, from the last to the first in an `:ordered_set`."
  @spec foldr((tuple, acc -> acc), acc, table) :: acc when acc: term
  defdelegate foldr(fun, acc, table), to: :ferrets

  @doc "All records of a table that may be on another node, in one message."
  @spec remote_dump(server) :: {:ok, [tuple]}
  defdelegate remote_dump(server), to: :ferrets

  @doc """
  What the variables of a pattern are bound to, for each record that matches, in the order of their numbers.

  Patterns and match specifications are those of `:ets`, and so are results, their order and exceptions, for a table of the same
  type. Records are looked at where they stand, and only results are copied. A query is done in short steps, and is no
  snapshot: a record that is there throughout is looked at once. A key that is given is looked up, and of an `:ordered_set`
  the beginning of a key is a range; all else looks at all records.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_match)
      iex> Ferrets.insert_many(:doc_match, [{{"host", "attic"}, :anna}, {{"host", "cellar"}, :bert}])
      iex> Ferrets.match(:doc_match, {{"host", :"$1"}, :"$2"})
      [["attic", :anna], ["cellar", :bert]]
  """
  @spec match(table, pattern) :: [[term]]
  defdelegate match(table, pattern), to: :ferrets

  @doc """
  The same with a limit: some results and where to go on, or `:"$end_of_table"`. The limit is exact but for the last results.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_match_limit)
      iex> Ferrets.insert_many(:doc_match_limit, [{1}, {2}, {3}])
      iex> {[[1], [2]], continuation} = Ferrets.match(:doc_match_limit, {:"$1"}, 2)
      iex> Ferrets.match(continuation)
      {[[3]], :"$end_of_table"}
  """
  @spec match(table, pattern, pos_integer) :: {[[term]], continuation} | :"$end_of_table"
  defdelegate match(table, pattern, limit), to: :ferrets

  @doc "Goes on with a query that has a limit, whichever it was."
  @spec match(continuation) :: {[[term]], continuation} | :"$end_of_table"
  defdelegate match(continuation), to: :ferrets

  @doc """
  The records that match a pattern.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_match_object)
      iex> Ferrets.insert_many(:doc_match_object, [{{"anna", 1}, :phone}, {{"anna", 2}, :laptop}, {{"bert", 1}, :phone}])
      iex> Ferrets.match_object(:doc_match_object, {{"anna", :_}, :_})
      [{{"anna", 1}, :phone}, {{"anna", 2}, :laptop}]
  """
  @spec match_object(table, pattern) :: [tuple]
  defdelegate match_object(table, pattern), to: :ferrets

  @doc "The same with a limit, as `match/3`."
  @spec match_object(table, pattern, pos_integer) :: {[tuple], continuation} | :"$end_of_table"
  defdelegate match_object(table, pattern, limit), to: :ferrets

  @doc "Goes on with a query that has a limit, whichever it was."
  @spec match_object(continuation) :: {[tuple], continuation} | :"$end_of_table"
  defdelegate match_object(continuation), to: :ferrets

  @doc """
  What a match specification gives for the records that match it.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_select)
      iex> Ferrets.insert_many(:doc_select, a: 1, b: 2, c: 3)
      iex> Ferrets.select(:doc_select, [{{:"$1", :"$2"}, [{:>, :"$2", 1}], [{{:"$2", :"$1"}}]}])
      [{2, :b}, {3, :c}]
      iex> Ferrets.select(:doc_select, [{:_, [{:no_function, 1}], [true]}])
      ** (ArgumentError) argument error
  """
  @spec select(table, match_spec) :: [term]
  defdelegate select(table, match_spec), to: :ferrets

  @doc "The same with a limit, as `match/3`."
  @spec select(table, match_spec, pos_integer) :: {[term], continuation} | :"$end_of_table"
  defdelegate select(table, match_spec, limit), to: :ferrets

  @doc "Goes on with a query that has a limit, whichever it was."
  @spec select(continuation) :: {[term], continuation} | :"$end_of_table"
  defdelegate select(continuation), to: :ferrets

  @doc """
  `select/2`, of an `:ordered_set` from the last key to the first.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_select_reverse)
      iex> Ferrets.insert_many(:doc_select_reverse, a: 1, b: 2)
      iex> Ferrets.select_reverse(:doc_select_reverse, [{{:"$1", :_}, [], [:"$1"]}])
      [:b, :a]
  """
  @spec select_reverse(table, match_spec) :: [term]
  defdelegate select_reverse(table, match_spec), to: :ferrets

  @doc "The same with a limit, as `match/3`."
  @spec select_reverse(table, match_spec, pos_integer) ::
          {[term], continuation} | :"$end_of_table"
  defdelegate select_reverse(table, match_spec, limit), to: :ferrets

  @doc "Goes on with a query that has a limit, whichever it was."
  @spec select_reverse(continuation) :: {[term], continuation} | :"$end_of_table"
  defdelegate select_reverse(continuation), to: :ferrets

  @doc """
  For how many records a match specification gives `true`. Copies nothing.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_select_count)
      iex> Ferrets.insert_many(:doc_select_count, a: 1, b: 2, c: 3)
      iex> Ferrets.select_count(:doc_select_count, [{{:_, :"$1"}, [{:>, :"$1", 1}], [true]}])
      2
  """
  @spec select_count(table, match_spec) :: non_neg_integer
  defdelegate select_count(table, match_spec), to: :ferrets

  @doc """
  Deletes on every node what matches a pattern here, in the versions that are seen here, and returns how many records were
  found.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_match_delete)
      iex> Ferrets.insert_many(:doc_match_delete, a: 1, b: 2, c: 1)
      iex> Ferrets.match_delete(:doc_match_delete, {:_, 1})
      2
  """
  @spec match_delete(server, pattern) :: non_neg_integer
  defdelegate match_delete(server, pattern), to: :ferrets

  @doc "The same for the records for which a match specification gives `true`."
  @spec select_delete(server, match_spec) :: non_neg_integer
  defdelegate select_delete(server, match_spec), to: :ferrets

  @doc """
  What there is to know of a table and its peers.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_info, type: :set)
      iex> %{type: :set, keypos: 1, size: 0, peers: []} = Ferrets.info(:doc_info)
  """
  @spec info(server) :: %{atom => term}
  defdelegate info(server), to: :ferrets

  @doc "The name of a server's table."
  @spec table_name(server) :: {:ok, table}
  defdelegate table_name(server), to: :ferrets

  @doc "The nodes of the linked peers, sorted."
  @spec other_nodes(server) :: [node]
  defdelegate other_nodes(server), to: :ferrets

  @doc "The linked peers, sorted."
  @spec other_pids(server) :: [pid]
  defdelegate other_pids(server), to: :ferrets

  @doc "Asks for the sorted list of the linked nodes, the server's own included; `wait_response/2` gives it."
  @spec get_nodes_request(server) :: request_id
  defdelegate get_nodes_request(server), to: :ferrets

  @doc "The server on which all linked servers agree as their leader."
  @spec get_leader(server) :: pid
  defdelegate get_leader(server), to: :ferrets

  @doc "Answers when the server has handled everything that was sent to it before."
  @spec ping(server) :: :pong
  defdelegate ping(server), to: :ferrets

  @doc "Returns when all writes in flight from the server are applied by all its peers."
  @spec ping_all(server) :: :ok | {:error, [{pid, reason :: term}]}
  defdelegate ping_all(server), to: :ferrets

  @doc "Deletes a record if it is there as it is. A newer record of the key survives, wherever it is."
  @spec delete_object(server, tuple) :: :ok
  defdelegate delete_object(server, record), to: :ferrets

  @doc "The same for each record of a list."
  @spec delete_objects(server, [tuple]) :: :ok
  defdelegate delete_objects(server, records), to: :ferrets

  @doc "`delete_object/2` that does not wait."
  @spec delete_object_request(server, tuple) :: request_id
  defdelegate delete_object_request(server, record), to: :ferrets

  @doc "`delete_objects/2` that does not wait."
  @spec delete_objects_request(server, [tuple]) :: request_id
  defdelegate delete_objects_request(server, records), to: :ferrets

  @doc """
  Inserts a record if no record has its key. In a linked cluster at most one call per key returns `true`.

      iex> {:ok, _pid} = Ferrets.start_link(name: :doc_insert_new)
      iex> Ferrets.insert_new(:doc_insert_new, {"anna", 1})
      true
      iex> Ferrets.insert_new(:doc_insert_new, {"anna", 2})
      false
  """
  @spec insert_new(server, tuple) :: boolean
  defdelegate insert_new(server, record), to: :ferrets

  @doc "The same, and returns the records under the key."
  @spec insert_new_or_lookup(server, tuple) :: {boolean, [tuple]}
  defdelegate insert_new_or_lookup(server, record), to: :ferrets

  @doc "Inserts a record in one order with all that the leader does."
  @spec insert_serial(server, tuple) :: :ok
  defdelegate insert_serial(server, record), to: :ferrets

  @doc "Holds back the writes of all callers until `unpause/2`, or until the caller ends."
  @spec pause(server) :: reference
  defdelegate pause(server), to: :ferrets

  @doc "Ends a pause."
  @spec unpause(server, reference) :: :ok | {:error, :unknown_pause_monitor}
  defdelegate unpause(server, pause), to: :ferrets

  @doc "For tests: has a server take itself for the leader, or not."
  @spec set_leader(server, boolean) :: :ok
  defdelegate set_leader(server, is_leader), to: :ferrets

  @doc "One number for all records and their versions: equal on two nodes exactly when they hold the same."
  @spec digest(server) :: non_neg_integer
  defdelegate digest(server), to: :ferrets

  @doc "Proof that all linked replicas are equal, or which are not."
  @spec verify(server) :: :ok | {:error, [{node, :ferrets_verify.difference()}]}
  defdelegate verify(server), to: :ferrets

  @doc "Compares with all linked peers now, and exchanges what differs."
  @spec sync(server) :: :ok
  defdelegate sync(server), to: :ferrets
end
