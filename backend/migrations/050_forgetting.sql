-- Commands are forgotten a month after they were carried out. They are written in the order of their
-- times, so that a block range index finds the old ones and costs a command nothing.
CREATE INDEX commands_at_idx ON loggia.commands USING brin (at);
