import { inForm, written } from '../http/openapi/resource.js';
import type { StatementWriter } from './statement.js';
import { StatementHeadDto, StatementLineDto } from './statements.dto.js';

/** Writes a `StatementDto` while its lines are read. */
export const jsonWriter = (textMoney: boolean): StatementWriter => {
  const head = inForm(written(StatementHeadDto), textMoney);
  const line = inForm(written(StatementLineDto), textMoney);
  return async function* (statement) {
    yield `${head.write(new StatementHeadDto(statement)).slice(0, -1)},"lines":[`;
    let before = '';
    for await (const chunk of statement.lines()) {
      if (chunk.length === 0) continue;
      yield before + chunk.map((each) => line.write(new StatementLineDto(each))).join();
      before = ',';
    }
    yield ']}';
  };
};
